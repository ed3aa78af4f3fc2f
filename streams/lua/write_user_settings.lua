#!lua
--[[
  Write settings of a user; others that are there stay.
  KEYS[1]  user_settings  HASH, setting -> JSON
  ARGV[1]    most settings
  ARGV[2]    most bytes of all settings and their names
  ARGV[3..]  two per setting: its name, its value as JSON

  Returns  {"written"}
           {"full", settings, bytes}  so many there would be; nothing was written
]]
--- @include "check_key"
local most, most_bytes = whole(ARGV[1]), whole(ARGV[2])
local why = check_key(KEYS[1], 'hash', 'HGETALL HSET') or not (most and most_bytes and #ARGV % 2 == 0) and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local sizes, count, bytes = {}, 0, 0
local function add(flat, first)
  for at = first, #flat, 2 do
    local name, size = flat[at], #flat[at] + #flat[at + 1]
    if not sizes[name] then count = count + 1 end
    bytes = bytes + size - (sizes[name] or 0)
    sizes[name] = size
  end
end
add(redis.call('HGETALL', KEYS[1]), 1)
add(ARGV, 3)
if count > most or bytes > most_bytes then return { 'full', count, bytes } end
for at = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
return { 'written' }
