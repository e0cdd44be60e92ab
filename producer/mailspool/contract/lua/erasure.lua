-- A part of the prelude (which says where), for the scripts after which a chunk or a batch may come to rest.
-- What a transactional mail said goes once it was sent: values and own content of a row when its chunk is
-- finished, the shared content of a literal mail when nothing of its batch can be sent any more. Spliced as bytes, for
-- cmsgpack knows no extensions; bytes that are none of ours stay (who reads them says so). Recipients, From and
-- Message-ID stay.
local function without()                              -- only transactional mail pays for making these
  local byte = string.byte
  local function number(s, i, bytes)
    local v = 0; for j = i + 1, i + bytes do v = v * 256 + byte(s, j) end
    return v
  end
  local function past(s, i)                           -- where the msgpack value that begins at i is over
    local todo = 1
    repeat
      local c = byte(s, i); todo = todo - 1
      if c >= 160 and c < 192 then i = i + c - 159
      elseif c < 128 or c >= 224 or c == 192 or c == 194 or c == 195 then i = i + 1
      elseif c == 217 or c == 196 then i = i + 2 + byte(s, i + 1)
      elseif c < 144 then i = i + 1; todo = todo + 2 * (c - 128)
      elseif c < 160 then i = i + 1; todo = todo + c - 144
      elseif c == 218 or c == 197 then i = i + 3 + number(s, i, 2)
      elseif c == 219 or c == 198 then i = i + 5 + number(s, i, 4)
      elseif c >= 204 and c <= 207 then i = i + 1 + 2 ^ (c - 204)
      elseif c >= 208 and c <= 211 then i = i + 1 + 2 ^ (c - 208)
      elseif c == 202 then i = i + 5
      elseif c == 203 then i = i + 9
      elseif c >= 212 and c <= 216 then i = i + 2 + 2 ^ (c - 212)
      elseif c >= 199 and c <= 201 then local w = 2 ^ (c - 199); i = i + 2 + w + number(s, i, w)
      elseif c == 220 or c == 221 then local w = 2 ^ (c - 219); todo = todo + number(s, i, w); i = i + 1 + w
      elseif c == 222 or c == 223 then local w = 2 ^ (c - 221); todo = todo + 2 * number(s, i, w); i = i + 1 + w
      else error('no msgpack') end
    until todo == 0
    if i > #s + 1 then error('cut off') end
    return i
  end
  local function without_body(raw)                      -- finished MIME (msgpack bin): its own Message-ID and nothing else
    local c = raw:byte(1)
    local content = raw:sub(c == 196 and 3 or c == 197 and 4 or 6)
    if c == 192 or content == '' then return raw end
    local head = '\r\n'..content
    local stop = head:find('\r\n\r\n', 1, true)
    head = stop and head:sub(1, stop + 1) or head..'\r\n'
    local from = head:lower():find('\r\nmessage%-id[ \t]*:')
    local kept = ''
    if from then
      local to = from + 2
      repeat to = head:find('\r\n', to, true) + 2 until not head:sub(to, to):find('[ \t]')
      kept = head:sub(from + 2, to - 1)
    end
    kept = kept:sub(1, 65000)..'Erased: yes\r\n\r\n'           -- MIME needs a header
    return string.char(197, math.floor(#kept / 256), #kept % 256)..kept
  end
  local function bare_rows(s, sent)                     -- a chunk's payload without what its sent rows said
    local count, i, parts = s:byte(2) * 256 + s:byte(3), 4, {s:sub(1, 3)}
    if s:byte(1) ~= 220 then error('no rows') end
    for index = 0, count - 1 do
      local fields = byte(s, i) - 144                 -- recipient, values, to_name, mail_from, raw, and what comes later
      if sent[index] and fields >= 5 and fields < 16 then
        local values = past(s, i + 1)
        local after = past(s, values)
        local raw = past(s, past(s, after))
        local rest = past(s, raw)
        local to = rest
        for _ = 6, fields do to = past(s, to) end
        local bare = byte(s, raw) == 192 and s:sub(after, to - 1)
          or s:sub(after, raw - 1)..without_body(s:sub(raw, rest - 1))..s:sub(rest, to - 1)
        parts[#parts + 1] = s:sub(i, values - 1)..'\128'..bare
        i = to
      else
        local to = past(s, i); parts[#parts + 1] = s:sub(i, to - 1); i = to
      end
    end
    if i ~= #s + 1 then error('more than rows') end
    return table.concat(parts)
  end
  local BARE = {subject = '\160', text = '\192', html = '\192', headers = '\144', attachments = '\144', erased = '\195'}
  local function bare_spec(s)                           -- a spec without what it said; a template stays as it is
    local i, parts, n, kind = 2, {}, s:byte(1) - 128, nil
    if s:byte(1) == 222 then n, i = s:byte(2) * 256 + s:byte(3), 4 elseif n < 0 or n > 15 then error('no spec') end
    parts[1] = s:sub(1, i - 1)
    for _ = 1, n do
      local value = past(s, i)
      local to, name = past(s, value), s:sub(i + 1, value - 1)
      local new = s:sub(value, to - 1)
      if name == 'kind' then kind = new:sub(2) end
      if name == 'mime' then new = without_body(new) end
      parts[#parts + 1] = s:sub(i, value - 1)..(BARE[name] or new)
      i = to
    end
    return (kind == 'literal' or kind == 'mime') and table.concat(parts) or s
  end
  return bare_rows, bare_spec
end
local function rewritten(key, change, sent)           -- true if something went
  local old = redis.pcall('GET', key)
  local known, new = pcall(change, old, sent)
  if not known or new == old then return false end
  call('SET', key, new); call('HSETNX', B, 'erased', now); call('HINCRBY', P..'chores', 'erased', 1)
  return true
end
local function erase_rows(k)
  local h, sent = call('HGETALL', outcomes(k)), {}
  for i = 1, #h, 2 do if letter(h[i + 1]) == 's' then sent[tonumber(h[i])] = true end end
  if next(sent) then rewritten(P..'chunk:'..b..':'..k, (without()), sent) end
end
-- Attachments go with the content. Rows that are added later bring it again: begin keeps it with the upload.
local function erase_content()
  local s, sent = get('state'), num('n_sent')
  if class() ~= 'transactional' or get('upload') or sent == 0 then return end
  if s == 'closed' or s == 'done' and sent == num('total') then
    if not get('bare') and rewritten(P..'spec:'..b, select(2, without())) then call('HSET', B, 'bare', 1) end
    if get('bare') then release_blobs() end
  end
end
