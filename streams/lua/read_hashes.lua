#!lua flags=no-writes
--[[
  Read some small hashes at once, and the time.

  KEYS[1..]  HASH, or a key of any other type

  ARGV[1]    most bytes of all of them

  Returns  {"read", time, hash...}   a hash is {field, value, ...}, {} where there is none; 0 for one
           that is too large for these bytes or may not be read, else the name of another type
]]
--- @include "check_key"
--- @include "now_ms"
local left, outcome = whole(ARGV[1]), { 'read', now_ms() }
if not left then return redis.error_reply('ERR a number is not a whole one') end

local function read(key)
  if refused('TYPE', key) then return 0 end
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' then return kind == 'none' and {} or kind end
  if refused('HSCAN', key) then return 0 end
  local fields, cursor, before = {}, '0', left
  repeat
    local reply = redis.call('HSCAN', key, cursor, 'COUNT', 20)
    cursor = reply[1]
    for _, text in ipairs(reply[2]) do
      left = left - #text
      table.insert(fields, text)
    end
    if left < 0 then
      left = before
      return 0
    end
  until cursor == '0'
  return fields
end

for index = 1, #KEYS do table.insert(outcome, read(KEYS[index])) end
return outcome
