"""What operators run: the jobs, routes and SMTP sessions that send what the spool holds."""
