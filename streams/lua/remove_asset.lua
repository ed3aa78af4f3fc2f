#!lua
--[[
  Forget an asset. Its bytes stay until they are swept.
  KEYS[1]  assets              HASH
  KEYS[2]  assets:owned:OWNER  ZSET
  KEYS[3]  assets:owners       HASH
  KEYS[4]  assets:expiry       ZSET
  KEYS[5]  assets:unconfirmed  ZSET
  KEYS[6]  assets:blobs        HASH
  ARGV[1]  asset id            ARGV[2]  hash of its bytes
  ARGV[3]  size in bytes       ARGV[4]  owner
  ARGV[5]  `any`, `expired` for one whose time is over only, or `unconfirmed`

  Returns  {"removed"}  {"unknown"}
           {"kept"}     it is not, or no longer, as ARGV[5] says
]]
--- @include "check_key"
--- @include "now_ms"
local id, hash, size, owner, only = ARGV[1], ARGV[2], whole(ARGV[3]), ARGV[4], ARGV[5]
local why = check_key(KEYS[1], 'hash', 'HEXISTS HDEL') or check_key(KEYS[2], 'zset', 'ZREM') or check_key(KEYS[3], 'hash', 'HGET HSET HDEL')
  or check_key(KEYS[4], 'zset', 'ZSCORE ZREM') or check_key(KEYS[5], 'zset', 'ZSCORE ZREM') or check_key(KEYS[6], 'hash', 'HGET HSET HDEL')
  or not (size and only) and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local now = now_ms()
if redis.call('HEXISTS', KEYS[1], id) == 0 then return { 'unknown' } end
local expires = redis.call('ZSCORE', KEYS[4], id)
if only == 'expired' and not (expires and tonumber(expires) <= now) then return { 'kept' } end
if only == 'unconfirmed' and not redis.call('ZSCORE', KEYS[5], id) then return { 'kept' } end
local function lessen(key, field, by)
  local left = (whole(redis.call('HGET', key, field) or '') or 0) - by
  if left > 0 then redis.call('HSET', key, field, left) else redis.call('HDEL', key, field) end
end
redis.call('HDEL', KEYS[1], id)
redis.call('ZREM', KEYS[2], id)
redis.call('ZREM', KEYS[4], id)
redis.call('ZREM', KEYS[5], id)
lessen(KEYS[3], owner, size)
lessen(KEYS[6], hash, 1)
return { 'removed' }
