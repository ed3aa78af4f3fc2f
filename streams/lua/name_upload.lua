#!lua
--[[
  Give an upload a name: the one that is asked for, else the first of "stem (1).ending",
  "stem (2).ending" ... that is free. A name is free when its upload has the same bytes, or is gone.
  KEYS[1]  assets:names:OWNER  HASH
  KEYS[2]  assets              HASH
  ARGV[1]  stem                ARGV[2]  ending, with its point
  ARGV[3]  asset id            ARGV[4]  hash of its bytes
  ARGV[5]  1 to take the name in any case
  ARGV[6]  how long names are kept from now, in ms
  ARGV[7]  most names of one owner     ARGV[8]  most names that are tried

  Returns  {"named", name}
           {"full"}  the owner has so many names, or all that were tried are taken
]]
--- @include "check_key"
local stem, ending, asset, hash = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local kept_ms, most, tries = whole(ARGV[6]), whole(ARGV[7]), whole(ARGV[8])
local why = check_key(KEYS[1], 'hash', 'HGET HSET HLEN PEXPIRE') or check_key(KEYS[2], 'hash', 'HEXISTS')
  or not (hash and kept_ms and kept_ms > 0 and most and tries) and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
for try = 0, tries - 1 do
  local name = try == 0 and stem .. ending or stem .. ' (' .. try .. ')' .. ending
  local found = redis.call('HGET', KEYS[1], name)
  local known, bytes = string.match(found or '', '^(%S+) (%S+)$')
  if not known or ARGV[5] == '1' or bytes == hash or redis.call('HEXISTS', KEYS[2], known) == 0 then
    if not found and redis.call('HLEN', KEYS[1]) >= most then return { 'full' } end
    redis.call('HSET', KEYS[1], name, asset .. ' ' .. hash)
    redis.call('PEXPIRE', KEYS[1], kept_ms)
    return { 'named', name }
  end
end
return { 'full' }
