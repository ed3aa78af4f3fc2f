#!lua flags=no-writes
--[[
  Say what the server's clock shows, and what runners have found out about it. Writes nothing.

  KEYS[1]  clock  HASH: when the clock was looked at, and how far it was set

  Returns  {"seen", time, when it was looked at before, sum of its steps in ms, unsure to, moving}
           Unix ms but for the sum, and moving: 1 while times are to be moved by the last step, else
           0; a time up to `unsure to` may be from before a step
]]
--- @include "check_key"
--- @include "now_ms"
local why = check_key(KEYS[1], 'hash', 'HMGET')
if why then return redis.error_reply(why) end
local seen_ms, stepped_ms, unsure_to_ms, moving = unpack(redis.call('HMGET', KEYS[1],
  'seen_ms', 'stepped_ms', 'unsure_to_ms', 'moving'))
return { 'seen', now_ms(), whole(seen_ms) or 0, whole(stepped_ms) or 0, whole(unsure_to_ms) or 0, moving and 1 or 0 }
