#!lua
--[[
  Write folded states of jobs, their index and the checkpoint: all or nothing.
  KEYS[1]  log        STREAM
  KEYS[2]  projector  HASH: owner, checkpoint, folded (events ever committed)
  KEYS[3]  active     ZSET, open jobs by last event time
  KEYS[4]  ended      ZSET, closed jobs by last event time
  KEYS[5]  parked     HASH, job -> why its events cannot be folded
  KEYS[6]  index      ZSET, jobs by their names, see index_jobs.lua
  KEYS[7]  indexed    HASH, job -> its entry, of which its members of the index are made
  ARGV[1]  token of the owner
  ARGV[2]  checkpoint that the owner believes in
  ARGV[3]  new checkpoint
  ARGV[4]  ms that the state of a closed job is kept after its end; 0 = not at all
  ARGV[5]  key of a state without the job id at its end
  ARGV[6]  consumer group that is put at the new checkpoint; '' = none, for a rebuild
  ARGV[7]  MessagePack, for each state: job id; seq it must be at, 0 = there must be none; new seq;
           closed; last event time, Unix ms; Unix ms to keep it until, 0 = as it is; array of field
           names and values; entry of `indexed`, '' = as it is
  ARGV[8]  MessagePack: array of names and values of `parked`; array of jobs no longer parked
  ARGV[9]  events folded
  ARGV[10] the indexes that are written, as words
  ARGV[11] key of a state that is to be moved, without the job id, see moving_states.lua

  Returns  {"committed"}                     a state that was already further stays as it is
           {"not_owner", owner}              nothing was written
           {"moved", checkpoint}             another process committed in between; nothing was written
           {"foreign", consumer}             a consumer has pending entries; nothing was written
           {"gap", job id, stored seq, ...}  states are at another seq; nothing was written
]]
--- @include "index_jobs"
--- @include "now_ms"
--- @include "refuse_commit"
--- @include "send_in_chunks"
--- @include "stand_still"
local log, projector, group = KEYS[1], KEYS[2], ARGV[6]
local to = { state = ARGV[5], active = KEYS[3], ended = KEYS[4], index = KEYS[6], indexed = KEYS[7] }
local call, time_ms, ttl_ms, events = redis.call, now_ms(), whole(ARGV[4]), whole(ARGV[9])
local parked, unparked = unpack(cmsgpack.unpack(ARGV[8]))
local refusal, folded, moving = refuse_commit(projector, log, KEYS[5], group, ARGV[1], ARGV[2])
to.moving = moving and ARGV[11] or nil
local why = check_moving(to.moving, to.state, 'HGET EXISTS UNLINK') or check_key(to.active, 'zset', 'ZADD ZREM ZCARD') or check_key(to.ended, 'zset', 'ZADD ZREM ZCARD ZRANGEBYSCORE')
  or check_key(to.index, 'zset', 'ZADD ZREM') or check_key(to.indexed, 'hash', 'HGET HSET HDEL')
  or check_key(to.state, 'hash', 'HGET HSET DEL PEXPIREAT')
  or not (ttl_ms and events and is_entry_id(ARGV[3]) and are_arrays(parked, unparked)) and 'ERR an argument is not of its type' or stand_still(tag_of(KEYS[1]))
if refusal or why then return refusal or redis.error_reply(why) end
local states = cmsgpack.unpack(ARGV[7])
local gaps = find_gaps(states, to.moving, to.state)
if #gaps > 0 then return { 'gap', unpack(gaps) } end
local indexes = complete_indexes(projector, to.active, to.ended, ARGV[2], ARGV[10])
drop_expired(to.ended, to.index, to.indexed, time_ms - ttl_ms)
for _, state in ipairs(states) do if not state.further then write_state(to, time_ms, unpack(state)) end end
send_in_chunks(parked, 'HSET', KEYS[5])
send_in_chunks(unparked, 'HDEL', KEYS[5])
if group ~= '' then call('XGROUP', 'SETID', log, group, ARGV[3]) end
call('HSET', projector, 'checkpoint', ARGV[3], 'folded', folded + events, 'indexes', indexes)
return { 'committed' }
