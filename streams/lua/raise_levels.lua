#!lua
--[[
  Raise a namespace's levels: what its programs may write, and what they must be able to read. They
  never fall.

  KEYS[1]  meta  HASH

  ARGV[1]  reader level

  Returns  {"raised", writes, min reader}   as they are now
]]
--- @include "check_key"
local meta, level = KEYS[1], whole(ARGV[1])
local why = check_key(meta, 'hash', 'HGET HSET') or not level and 'ERR the level is not a whole number'
if why then return redis.error_reply(why) end

local function raised(field)
  local now = math.max(whole(redis.call('HGET', meta, field) or '') or 1, level)
  redis.call('HSET', meta, field, now)
  return now
end
return { 'raised', raised('writes'), raised('min_reader') }
