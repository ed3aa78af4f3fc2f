#!lua
--[[
  Put the rebuilt projection of a partition in the place of the live one, in one step. The owner of
  the live one loses its lease, and the next owner goes on from the new checkpoint.

  KEYS[1]  projector  HASH, live: owner, owned until, checkpoint, folded
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
  ARGV[2]  key of a live state without the job id at its end
  ARGV[3]  the same for a rebuilt one

  Returns  {"swapped"}
           {"not_owner", owner}      another rebuild is at work; nothing was changed
           {"behind", checkpoint}    the live projection is further; nothing was changed
]]
--- @include "refuse_swap"
--- @include "finish_swap"
local live, rebuilt = KEYS[1], KEYS[7]
local why = check_key(live, 'hash', 'HGET HSET') or check_key(rebuilt, 'hash', 'HGET HMGET DEL')
  or check_move(ARGV[3], ARGV[2], 'hash') or check_move(KEYS[8], KEYS[2], 'zset')
  or check_move(KEYS[9], KEYS[3], 'zset') or check_move(KEYS[10], KEYS[4], 'hash')
  or check_move(KEYS[11], KEYS[5], 'zset') or check_move(KEYS[12], KEYS[6], 'hash')
  or refused('ZRANGE', KEYS[2]) or refused('ZRANGE', KEYS[3]) or refused('ZRANGE', KEYS[8]) or refused('ZRANGE', KEYS[9])
if why then return redis.error_reply(why) end
local refusal, checkpoint, folded = refuse_swap(live, rebuilt, ARGV[1])
if refusal then return refusal end

local function each(index, call) for _, job in ipairs(redis.call('ZRANGE', index, 0, -1)) do call(job) end end
local function drop_state(job) redis.call('UNLINK', ARGV[2] .. job) end
-- A state that has expired in the meantime has a place in the index, but no key.
local function move_state(job) move(ARGV[3] .. job, ARGV[2] .. job) end
each(KEYS[2], drop_state) each(KEYS[3], drop_state)
each(KEYS[8], move_state) each(KEYS[9], move_state)
move(KEYS[8], KEYS[2]) move(KEYS[9], KEYS[3]) move(KEYS[10], KEYS[4]) move(KEYS[11], KEYS[5]) move(KEYS[12], KEYS[6])
redis.call('HSET', live, 'indexes', redis.call('HGET', rebuilt, 'indexes') or '')
finish_swap(live, rebuilt, checkpoint, folded)
return { 'swapped' }
