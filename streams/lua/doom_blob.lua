#!lua
--[[
  Say that bytes are being removed, unless an asset of this partition has them.
  KEYS[1]  assets:blobs   HASH
  KEYS[2]  assets:doomed  HASH
  ARGV[1]  hash of the bytes
  ARGV[2]  for how long this counts, in ms: after it whoever said so has died

  Returns  {"doomed"}
           {"needed"}  an asset has them; nothing was written
           {"taken"}   another sweeper removes them now; nothing was written
]]
--- @include "check_key"
--- @include "doomed"
--- @include "now_ms"
local hash, for_ms = ARGV[1], whole(ARGV[2])
local why = check_key(KEYS[1], 'hash', 'HEXISTS') or check_key(KEYS[2], 'hash', 'HGET HSET')
  or not for_ms and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local now = now_ms()
if redis.call('HEXISTS', KEYS[1], hash) == 1 then return { 'needed' } end
local other = redis.call('HGET', KEYS[2], hash)
if is_doomed(other, now) then return { 'taken' } end
redis.call('HSET', KEYS[2], hash, now + for_ms)
return { 'doomed' }
