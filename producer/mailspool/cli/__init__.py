"""The commands: what people type. `mailspool.cli.main:run` is the console entry, `python -m mailspool.cli` the same.

main.py      the list of commands, global flags, what becomes of an error
options.py   what every command is given (`Ask`), and flags that several share
say.py       stdout for answers, stderr for everything else; JSON or words; colours.  failures.py: errors in words
when.py screens.py tables.py paint.py content_key.py      pure
a file for each command (control.py: retry hold release cancel; messages.py: show)

A command's file may import typer, the errors and these files at its top; everything heavy is loaded inside functions,
so that `--help` costs nothing. Nothing imports this package.
"""
