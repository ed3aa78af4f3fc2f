#!lua flags=allow-oom
--[[
  Own a partition's projection for a while, keep owning it, or give it up. The lease saves work
  that would be done twice; the checks of `commit` are what makes two owners harmless.

  KEYS[1]  projector  HASH: owner, owned until (Unix ms), checkpoint

  ARGV[1]  token of the projector process
  ARGV[2]  ms to own it for; 0 = give it up

  Returns  {"owned", checkpoint, how} for the ms from now on; how is "still" or "anew"
           {"held", owner}            somebody else owns it
           {"given_up"}
]]
--- @include "now_ms"
local projector, token, lease_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time_ms = now_ms()

local owner, until_ms, checkpoint = unpack(redis.call('HMGET', projector, 'owner', 'until_ms', 'checkpoint'))
if owner and owner ~= '' and owner ~= token and tonumber(until_ms or 0) > time_ms then
  return { 'held', owner }
end
if lease_ms == 0 then
  if owner == token then redis.call('HSET', projector, 'owner', '', 'until_ms', 0) end
  return { 'given_up' }
end
redis.call('HSET', projector, 'owner', token, 'until_ms', string.format('%d', time_ms + lease_ms))
return { 'owned', checkpoint or '0-0', owner == token and 'still' or 'anew' }
