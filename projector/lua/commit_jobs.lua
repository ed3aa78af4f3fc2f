#!lua
--[[
  Write folded states of jobs of some partitions of one server, their indexes and their checkpoints:
  of each partition all or nothing, whatever becomes of the others.
  KEYS[1..] seven of each partition:
            log        STREAM
            projector  HASH: owner, checkpoint, folded (events ever committed)
            active     ZSET, open jobs by last event time
            ended      ZSET, closed jobs by last event time
            parked     HASH, job -> why its events cannot be folded
            index      ZSET, jobs by their names, see index_jobs.lua
            indexed    HASH, job -> its entry, of which its members of the index are made
  ARGV[1]   ms that the state of a closed job is kept after its end; 0 = not at all
  ARGV[2]   the indexes that are written, as words
  ARGV[3..] nine of each partition:
            token of the owner
            checkpoint that the owner believes in
            new checkpoint
            consumer group that is put at the new checkpoint; '' = none, for a rebuild
            key of a state without the job id at its end
            key of a state that is to be moved, without the job id, see moving_states.lua
            MessagePack, for each state: job id; seq it must be at, 0 = there must be none, -1 = it is
            of an earlier job of this id, and is replaced; new seq;
            closed; last event time, Unix ms; Unix ms to keep it until, 0 = as it is; array of field
            names and values; entry of `indexed`, '' = as it is
            MessagePack: array of names and values of `parked`; array of jobs no longer parked
            events folded

  Returns an array of one for each partition
           {"committed"}                     a state that was already further stays as it is
           {"not_owner", owner}              nothing was written
           {"moved", checkpoint}             another process committed in between; nothing was written
           {"foreign", consumer}             a consumer has pending entries; nothing was written
           {"gap", job id, stored seq, ...}  states are at another seq, -2 = no state; nothing was written
           {"refused", text of an error}     nothing was written
]]
--- @include "commit_part"
local ttl_ms, parts, outcomes = whole(ARGV[1]), {}, {}
if not (ttl_ms and ARGV[2] and #ARGV == 2 + #KEYS / 7 * 9) then return redis.error_reply('ERR an argument is not of its type') end
local time_ms, why = now_ms(), stand_still(tag_of(KEYS[1]))
if why then return redis.error_reply(why) end
-- All of them before the first write.
for i = 1, #KEYS / 7 do
  local keys, is_checked = { unpack(KEYS, 7 * i - 6, 7 * i) }, nil
  is_checked, outcomes[i], parts[i] = pcall(check_part, not next(parts), keys, unpack(ARGV, 9 * i - 6, 9 * i + 2))
  if not is_checked then outcomes[i] = { 'refused', type(outcomes[i]) == 'table' and outcomes[i].err or tostring(outcomes[i]) } end
end
for i, part in pairs(parts) do
  write_part(part, time_ms, ttl_ms, ARGV[2])
  outcomes[i] = { 'committed' }
end
return outcomes
