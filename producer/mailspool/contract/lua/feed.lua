-- feed class grace : give arq the next chunks of the window. Answers {now, {name, why it was set aside...}, id...}.
local ids = feed(ARGV[2], tonumber(ARGV[3]))
return {now, aside, unpack(ids)}
