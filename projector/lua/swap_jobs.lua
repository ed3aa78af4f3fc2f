#!lua
--[[
  Put the rebuilt projection of a partition in the place of the live one, in one step. The owner of
  the live one loses its lease, and the next owner goes on from the new checkpoint.

  KEYS[1]  projector  HASH, live: owner, owned until, checkpoint, folded
  KEYS[2]  active     ZSET, live: open jobs
  KEYS[3]  ended      ZSET, live: closed jobs with a state
  KEYS[4]  parked     HASH, live
  KEYS[5]  projector  HASH, rebuilt
  KEYS[6]  active     ZSET, rebuilt
  KEYS[7]  ended      ZSET, rebuilt
  KEYS[8]  parked     HASH, rebuilt

  ARGV[1]  token of the rebuild
  ARGV[2]  key of a live state without the job id at its end
  ARGV[3]  the same for a rebuilt one

  Returns  {"swapped"}
           {"not_owner", owner}      another rebuild is at work; nothing was changed
           {"behind", checkpoint}    the live projection is further; nothing was changed
]]
--- @include "refuse_swap"
--- @include "finish_swap"
local live, rebuilt = KEYS[1], KEYS[5]
local why = check_key(live, 'hash', 'HGET HSET') or check_key(rebuilt, 'hash', 'HMGET DEL')
  or check_move(ARGV[3], ARGV[2], 'hash') or check_move(KEYS[6], KEYS[2], 'zset')
  or check_move(KEYS[7], KEYS[3], 'zset') or check_move(KEYS[8], KEYS[4], 'hash')
  or refused('ZRANGE', KEYS[2]) or refused('ZRANGE', KEYS[3]) or refused('ZRANGE', KEYS[6]) or refused('ZRANGE', KEYS[7])
if why then return redis.error_reply(why) end
local refusal, checkpoint, folded = refuse_swap(live, rebuilt, ARGV[1])
if refusal then return refusal end

local function each(index, call) for _, job in ipairs(redis.call('ZRANGE', index, 0, -1)) do call(job) end end
local function drop_state(job) redis.call('UNLINK', ARGV[2] .. job) end
-- A state that has expired in the meantime has a place in the index, but no key.
local function move_state(job) move(ARGV[3] .. job, ARGV[2] .. job) end
each(KEYS[2], drop_state) each(KEYS[3], drop_state)
each(KEYS[6], move_state) each(KEYS[7], move_state)
move(KEYS[6], KEYS[2]) move(KEYS[7], KEYS[3]) move(KEYS[8], KEYS[4])
finish_swap(live, rebuilt, checkpoint, folded)
return { 'swapped' }
