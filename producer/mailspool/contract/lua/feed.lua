-- feed class grace : give arq the next chunks of the window. Answers {now, id...}.
local ids = feed(ARGV[2], tonumber(ARGV[3]))
return {now, unpack(ids)}
