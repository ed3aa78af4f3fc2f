#!lua flags=no-writes
--[[
  Read a page of a hash, however large it is and its values are. A field that is there all the time
  is in one page at least; it may be in two.

  KEYS[1]  HASH

  ARGV[1]  cursor; 0 = the beginning
  ARGV[2]  bytes after which a page ends

  Returns  {"page", next cursor, field, value, ...}   cursor 0 = the end
]]
--- @include "check_key"
local why = refused('HSCAN', KEYS[1])
if why then return redis.error_reply(why) end
local outcome, cursor, left = { 'page', ARGV[1] }, ARGV[1], tonumber(ARGV[2])
repeat
  local reply = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 4)
  cursor = reply[1]
  for _, text in ipairs(reply[2]) do
    left = left - #text
    table.insert(outcome, text)
  end
until cursor == '0' or left < 0
outcome[2] = cursor
return outcome
