#!lua flags=allow-oom
--[[
  After a swap, move rebuilt states of some jobs to where all programs read them, and delete replaced
  ones that no rebuilt state stands behind. It may be repeated, and many may do it at once.

  KEYS[1]  projector  HASH: moving (which swap it was; not there when its states have been moved)
  KEYS[2]  active     ZSET, open jobs
  KEYS[3]  ended      ZSET, closed jobs with a state
  KEYS[4]  active     ZSET, what the swap has replaced, not looked at yet
  KEYS[5]  ended      ZSET, the same

  ARGV[1]  the swap that is meant
  ARGV[2]  key of a state without the job id at its end
  ARGV[3]  the same for a rebuilt one that is to be moved
  ARGV[4]  1 = all jobs of the swap have been given
  ARGV[5..]  job ids

  Returns  {"moved"}
           {"over"}     the states of this swap have been moved; nothing was written
]]
--- @include "moving_states"
--- @include "send_in_chunks"
--- @include "stand_still"
local projector, active, ended, call = KEYS[1], KEYS[2], KEYS[3], redis.call
local to, from = ARGV[2], ARGV[3]
local why = check_key(projector, 'hash', 'HGET HDEL') or check_key(active, 'zset', 'ZSCORE') or check_key(ended, 'zset', 'ZSCORE')
  or check_key(KEYS[4], 'zset', 'ZREM') or check_key(KEYS[5], 'zset', 'ZREM') or check_moving(from, to, 'HGET UNLINK') or refused('HGET UNLINK', to) or stand_still(tag_of(KEYS[1]))
if why then return redis.error_reply(why) end
if call('HGET', projector, 'moving') ~= ARGV[1] then return { 'over' } end
local jobs, rebuilt, gone = {}, {}, {}
for i = 5, #ARGV do jobs[i - 4] = ARGV[i] end
for i, job in ipairs(jobs) do
  local seq, is_rebuilt = stored_seq(from, to, job)
  rebuilt[i] = is_rebuilt
  gone[i] = not is_rebuilt and seq > 0 and not (call('ZSCORE', active, job) or call('ZSCORE', ended, job))
end
for i, job in ipairs(jobs) do
  if rebuilt[i] then call('RENAME', from .. job, to .. job) else call('UNLINK', from .. job) end
  if gone[i] then call('UNLINK', to .. job) end
end
send_in_chunks(jobs, 'ZREM', KEYS[4])
send_in_chunks(jobs, 'ZREM', KEYS[5])
if ARGV[4] == '1' then call('HDEL', projector, 'moving') end
return { 'moved' }
