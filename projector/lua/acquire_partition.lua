#!lua flags=allow-oom
--[[
  Acquire the lease of one partition of a projection or subscription, renew it, or release it. The
  lease saves work that would be done twice; the checks of each commit make two owners harmless.

  KEYS[1]  projector  HASH: owner, until_ms (end of the lease, Unix ms), checkpoint

  ARGV[1]  token of the process
  ARGV[2]  ms of the lease; 0 = release it

  Returns  {"acquired", checkpoint, how} for the ms from now on; how is "renewed" or "new"
           {"leased", owner}             another process has it
           {"released"}
]]
--- @include "check_key"
--- @include "now_ms"
--- @include "other_owner"
local projector, token, lease_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local why = check_key(projector, 'hash', 'HMGET HSET')
if why then return redis.error_reply(why) end
local time_ms = now_ms()

local owner, until_ms, checkpoint = unpack(redis.call('HMGET', projector, 'owner', 'until_ms', 'checkpoint'))
local other = other_owner(owner, until_ms, token, lease_ms, time_ms)
if other then return { 'leased', other } end
if lease_ms == 0 then
  if owner == token then redis.call('HSET', projector, 'owner', '', 'until_ms', 0) end
  return { 'released' }
end
redis.call('HSET', projector, 'owner', token, 'until_ms', string.format('%d', time_ms + lease_ms))
return { 'acquired', checkpoint or '0-0', owner == token and 'renewed' or 'new' }
