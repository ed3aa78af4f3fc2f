#!lua
--[[
  Put the rebuilt projection of a partition in the place of the live one, in one step that takes as
  long for a million states as for one: the indexes change places, and `moving` says from then on that
  rebuilt states count before live ones. move_states.lua moves them afterwards. The owner of the live
  one loses its lease, and the next owner goes on from the new checkpoint.

  KEYS[1]  projector  HASH, live: owner, owned until, checkpoint, folded, moving
  KEYS[2]  active     ZSET, live: open jobs
  KEYS[3]  ended      ZSET, live: closed jobs with a state
  KEYS[4]  parked     HASH, live
  KEYS[5]  index      ZSET, live
  KEYS[6]  indexed    HASH, live
  KEYS[7]  projector  HASH, rebuilt
  KEYS[8]  active     ZSET, rebuilt
  KEYS[9]  ended      ZSET, rebuilt
  KEYS[10] parked     HASH, rebuilt
  KEYS[11] index      ZSET, rebuilt
  KEYS[12] indexed    HASH, rebuilt

  ARGV[1]  token of the rebuild

  Returns  {"swapped"}
           {"not_owner", owner}      another rebuild is at work; nothing was changed
           {"behind", checkpoint}    the live projection is further; nothing was changed
           {"moving"}                states of an earlier swap are to be moved first; the same
]]
--- @include "refuse_swap"
--- @include "finish_swap"
--- @include "now_ms"
--- @include "stand_still"
local live, rebuilt = KEYS[1], KEYS[7]
local why = check_key(live, 'hash', 'HGET HSET') or check_key(rebuilt, 'hash', 'HGET HMGET DEL')
  or check_exchange(KEYS[8], KEYS[2], 'zset') or check_exchange(KEYS[9], KEYS[3], 'zset')
  or check_move(KEYS[10], KEYS[4], 'hash') or check_move(KEYS[11], KEYS[5], 'zset')
  or check_move(KEYS[12], KEYS[6], 'hash') or stand_still(tag_of(KEYS[1]))
if why then return redis.error_reply(why) end
local refusal, checkpoint, folded = refuse_swap(live, rebuilt, ARGV[1])
if refusal then return refusal end
if redis.call('HGET', live, 'moving') then return { 'moving' } end

local swap = string.format('%d', now_ms())
move(KEYS[10], KEYS[4]) move(KEYS[11], KEYS[5]) move(KEYS[12], KEYS[6])
-- The name of the rebuilt `parked` is free now. What is replaced stays, for move_states.lua.
exchange(KEYS[8], KEYS[2], KEYS[10]) exchange(KEYS[9], KEYS[3], KEYS[10])
redis.call('HSET', live, 'indexes', redis.call('HGET', rebuilt, 'indexes') or '', 'moving', swap)
finish_swap(live, rebuilt, checkpoint, folded)
return { 'swapped' }
