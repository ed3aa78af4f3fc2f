#!lua
--[[
  Make an asset known, unless it is; one that is known is kept for as long as is asked now.
  KEYS[1]  assets              HASH
  KEYS[2]  assets:owned:OWNER  ZSET
  KEYS[3]  assets:owners       HASH
  KEYS[4]  assets:expiry       ZSET
  KEYS[5]  assets:unconfirmed  ZSET
  KEYS[6]  assets:blobs        HASH
  KEYS[7]  assets:doomed       HASH
  ARGV[1]  asset id            ARGV[2]  hash of its bytes
  ARGV[3]  size in bytes       ARGV[4]  owner
  ARGV[5]  its record, JSON    ARGV[6]  quota of the owner in bytes, 0 for none
  ARGV[7]  how long it is kept in ms, 0 for ever
  ARGV[8]  1 where a job is still to name it

  Returns  {"stored"}       {"known", record}
           {"full", bytes}  the owner's other assets have so many; nothing was written
           {"doomed"}       its bytes are being removed; nothing was written
]]
--- @include "keep_asset"
--- @include "doomed"
--- @include "now_ms"
local id, hash, size, owner, record, quota, kept_ms = ARGV[1], ARGV[2], whole(ARGV[3]), ARGV[4], ARGV[5], whole(ARGV[6]), whole(ARGV[7])
local why = check_key(KEYS[1], 'hash', 'HGET HSET') or check_key(KEYS[2], 'zset', 'ZADD') or check_key(KEYS[3], 'hash', 'HGET HSET')
  or check_key(KEYS[4], 'zset', 'ZSCORE ZADD ZREM') or check_key(KEYS[5], 'zset', 'ZADD') or check_key(KEYS[6], 'hash', 'HGET HSET')
  or check_key(KEYS[7], 'hash', 'HGET HDEL')
  or not (size and size >= 0 and quota and kept_ms and record and ARGV[8]) and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local now = now_ms()
local doomed = redis.call('HGET', KEYS[7], hash)
if is_doomed(doomed, now) then return { 'doomed' } end
local until_ms = kept_ms > 0 and now + kept_ms or 0
local known = redis.call('HGET', KEYS[1], id)
if known then
  keep_asset(KEYS[4], id, until_ms)
  return { 'known', known }
end
-- A number that somebody overwrote counts as none: no bytes are lost by that.
local used, count = whole(redis.call('HGET', KEYS[3], owner) or '0') or 0, whole(redis.call('HGET', KEYS[6], hash) or '0') or 0
if quota > 0 and used + size > quota then return { 'full', used } end
redis.call('HSET', KEYS[1], id, record)
redis.call('ZADD', KEYS[2], now, id)
redis.call('HSET', KEYS[3], owner, used + size)
if until_ms > 0 then redis.call('ZADD', KEYS[4], until_ms, id) end
if ARGV[8] == '1' then redis.call('ZADD', KEYS[5], now, id) end
redis.call('HSET', KEYS[6], hash, count + 1)
if doomed then redis.call('HDEL', KEYS[7], hash) end
return { 'stored' }
