#!lua
--[[
  Put the rebuilt states of a custom projection in the place of the live ones, in one partition and
  one step. The owner loses its lease, and the next owner goes on from the new checkpoint.

  KEYS[1]  projector  HASH, live: owner, owned until, checkpoint, folded
  KEYS[2]  states     HASH, live
  KEYS[3]  parked     HASH, live
  KEYS[4]  projector  HASH, rebuilt
  KEYS[5]  states     HASH, rebuilt
  KEYS[6]  parked     HASH, rebuilt

  ARGV[1]  token of the rebuild

  Returns  {"swapped"}
           {"not_owner", owner}      another rebuild is at work; nothing was changed
           {"behind", checkpoint}    the live projection is further; nothing was changed
]]
--- @include "refuse_swap"
--- @include "finish_swap"
--- @include "stand_still"
local live, rebuilt = KEYS[1], KEYS[4]
local why = check_key(live, 'hash', 'HGET HSET') or check_key(rebuilt, 'hash', 'HMGET DEL')
  or check_move(KEYS[5], KEYS[2], 'hash') or check_move(KEYS[6], KEYS[3], 'hash') or stand_still(tag_of(KEYS[1]))
if why then return redis.error_reply(why) end
local refusal, checkpoint, folded = refuse_swap(live, rebuilt, ARGV[1])
if refusal then return refusal end

move(KEYS[5], KEYS[2]) move(KEYS[6], KEYS[3])
finish_swap(live, rebuilt, checkpoint, folded)
return { 'swapped' }
