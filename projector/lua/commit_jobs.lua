#!lua
--[[
  Write folded states of jobs, their index, the acknowledgements and the checkpoint: all or nothing.
  KEYS[1]  log        STREAM
  KEYS[2]  projector  HASH: owner, checkpoint, folded (events ever committed)
  KEYS[3]  active     ZSET, open jobs by last event time
  KEYS[4]  ended      ZSET, closed jobs by last event time
  KEYS[5]  parked     HASH, job -> why its events cannot be folded

  ARGV[1]  token of the owner, which is also its consumer name
  ARGV[2]  checkpoint that the owner believes in
  ARGV[3]  new checkpoint
  ARGV[4]  ms that the state of a closed job is kept after its end; 0 = not at all
  ARGV[5]  key of a state without the job id at its end
  ARGV[6]  consumer group, in which to acknowledge ARGV[7]; '' = a rebuild, which has none
  ARGV[7]  MessagePack: ids of entries
  ARGV[8]  MessagePack, for each state: job id; seq it must be at, 0 = there must be none; new seq;
           closed; last event time, Unix ms; Unix ms to keep it until, 0 = as it is; array of field
           names and values
  ARGV[9]  MessagePack: array of names and values of `parked`; array of jobs no longer parked
  ARGV[10] events folded

  Returns  {"committed"}                     a state that was already further stays as it is
           {"not_owner", owner}              nothing was written
           {"moved", checkpoint}             another process committed in between; nothing was written
           {"foreign", consumer}             another consumer has pending entries; nothing was written
           {"gap", job id, stored seq, ...}  states are not where they must be; nothing was written
]]
--- @include "now_ms"
--- @include "refuse_commit"
--- @include "send_in_chunks"
local log, projector, active, ended, group = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[6]
local call, time_ms, ttl_ms, events = redis.call, now_ms(), whole(ARGV[4]), whole(ARGV[10])
local entries, parked, unparked = cmsgpack.unpack(ARGV[7]), unpack(cmsgpack.unpack(ARGV[9]))
local refusal, folded = refuse_commit(projector, log, KEYS[5], group, ARGV[1], ARGV[2])
local why = check_key(active, 'zset', 'ZADD ZREM') or check_key(ended, 'zset', 'ZADD ZREMRANGEBYSCORE')
  or check_key(ARGV[5], 'hash', 'HGET HSET DEL PEXPIREAT')
  or not (ttl_ms and events and are_arrays(entries, parked, unparked)) and 'ERR an argument is not of its type'
if refusal or why then return refusal or redis.error_reply(why) end
local states, gaps = cmsgpack.unpack(ARGV[8]), { 'gap' }
for _, state in ipairs(states) do
  local stored = whole(call('HGET', ARGV[5] .. state[1], 'seq') or '0') or 0
  if stored >= state[3] then state.further = true
  elseif stored ~= state[2] then table.insert(gaps, state[1]) table.insert(gaps, stored) end
end
if #gaps > 1 then return gaps end
local function write(job, _, _, closed, event_ms, until_ms, fields)
  local key, kept = ARGV[5] .. job, until_ms == 0 or until_ms > time_ms
  if kept then call('HSET', key, unpack(fields)) else call('DEL', key) end
  if kept and until_ms > 0 then call('PEXPIREAT', key, until_ms) end
  if closed then call('ZREMRANGEBYSCORE', ended, '-inf', time_ms - ttl_ms) call('ZREM', active, job) end
  if kept or not closed then call('ZADD', closed and ended or active, event_ms, job) end
end
for _, state in ipairs(states) do if not state.further then write(unpack(state)) end end
send_in_chunks(parked, 'HSET', KEYS[5])
send_in_chunks(unparked, 'HDEL', KEYS[5])
send_in_chunks(entries, 'XACK', log, group)
call('HSET', projector, 'checkpoint', ARGV[3], 'folded', folded + events)
return { 'committed' }
