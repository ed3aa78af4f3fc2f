#!lua flags=no-writes
--[[
  Say which commands this user may not send; none of them is carried out, and no key is touched.

  ARGV[1..]  per command: the number of its words, then the words

  Returns  {"checked", number, ...}   negative: the numbers, from 1 on, of commands that the server
                                      does not have; positive: of those that this user may not send
           {"unknown"}                the server cannot say
]]
--- @include "check_key"
if not redis.acl_check_cmd then return { 'unknown' } end
-- Redis 8.10 counts the words of what it is asked about: fewer are tried, then more.
local function asked(first, last)
  local is_known, may_send
  for upto = last, first, -1 do
    is_known, may_send = pcall(redis.acl_check_cmd, unpack(ARGV, first, upto))
    if is_known then return true, may_send end
  end
  local words = { unpack(ARGV, first, last) }
  for _ = 1, 8 do
    words[#words + 1] = words[#words]
    is_known, may_send = pcall(redis.acl_check_cmd, unpack(words))
    if is_known then return true, may_send end
  end
  return false
end
local outcome, at, number = { 'checked' }, 1, 0
while at < #ARGV do
  local words = whole(ARGV[at])
  if not words or words < 1 then return redis.error_reply('ERR a number of words is not a whole number') end
  number = number + 1
  local is_known, may_send = asked(at + 1, at + words)
  if not is_known then
    table.insert(outcome, -number)
  elseif not may_send then
    table.insert(outcome, number)
  end
  at = at + words + 1
end
return outcome
