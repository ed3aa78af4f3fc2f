#!lua
--[[
  Keep an asset for some time at least. One that is kept longer, or for ever, stays so.
  KEYS[1]  assets         HASH
  KEYS[2]  assets:expiry  ZSET
  ARGV[1]  asset id
  ARGV[2]  for how long from now, in ms; 0 for ever

  Returns  {"kept", record}  {"unknown"}
]]
--- @include "keep_asset"
--- @include "now_ms"
local id, kept_ms = ARGV[1], whole(ARGV[2])
local why = check_key(KEYS[1], 'hash', 'HGET') or check_key(KEYS[2], 'zset', 'ZSCORE ZADD ZREM')
  or not kept_ms and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local now = now_ms()
local record = redis.call('HGET', KEYS[1], id)
if not record then return { 'unknown' } end
keep_asset(KEYS[2], id, kept_ms > 0 and now + kept_ms or 0)
return { 'kept', record }
