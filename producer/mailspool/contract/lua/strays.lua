-- strays mode index member... : which members of this index have nothing behind them? mode tell | delete. Answers them.
local mode, index, answers = ARGV[2], ARGV[3], {}
local kind, c = index:match('^(%a+):?(%a*)$')
local function stray(member)
  local batch, k = member, nil
  if kind == 'loading' then return call('EXISTS', P..'upload:'..member) == 0 end
  if kind == 'flight' or kind == 'apart' or kind == 'aside' then batch, k = member:match('^(.-):(.+)$') end
  if not batch then return true end
  at(batch)
  if c ~= '' and class() ~= c then return true end
  if k then return call('HEXISTS', RUN, k) == 0 end
  return not get('state')
end
for j = 4, #ARGV do
  local done, found = pcall(stray, ARGV[j])
  if done and found and call('ZSCORE', P..index, ARGV[j]) then   -- it may have left since the caller saw it
    if mode == 'delete' then call('ZREM', P..index, ARGV[j]) end
    answers[#answers + 1] = ARGV[j]
  end
end
return answers
