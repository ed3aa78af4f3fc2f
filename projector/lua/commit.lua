#!lua
--[[
  Write folded states, their index, the acknowledgements and the checkpoint: all or nothing.

  KEYS[1]  log        STREAM with the group `projector`
  KEYS[2]  projector  HASH: owner, checkpoint, folded (events ever committed)
  KEYS[3]  active     ZSET, open jobs by last event time
  KEYS[4]  ended      ZSET, closed jobs by last event time
  KEYS[5]  parked     HASH, job -> why its events cannot be folded
  KEYS[6..] job       HASH, the state of each job

  ARGV[1]  token of the owner, which is also its consumer name
  ARGV[2]  ms that the state of a closed job is kept; 0 = not at all
  ARGV[3]  n, the entries folded; then n entry ids, the last of which is the new checkpoint;
           then the number of jobs to park, and two for each: job id; JSON;
           then for each state: job id; seq it must be at, 0 = there must be none; new seq; ms to
           live; 1 when closed; last event time, Unix ms; number m of fields; m names and values
  ARGV[4..] the rest

  Returns  {"committed"}                a state that was already further is left as it is
           {"not_owner", owner}         nothing was written
           {"foreign", consumer}        entries were given to another consumer; nothing was written
           {"gap", job id, stored seq}  a state is not where it must be; nothing was written
]]
local log, projector, active, ended, parked = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, closed_ttl_ms, n = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local owner = redis.call('HGET', projector, 'owner')
if owner ~= token then return { 'not_owner', owner or '' } end
for _, consumer in ipairs(redis.call('XPENDING', log, 'projector')[4] or {}) do
  if consumer[1] ~= token then return { 'foreign', consumer[1] } end
end

local first = 4 + n + 1 + 2 * tonumber(ARGV[4 + n])
local writes, at = {}, first
for key = 6, #KEYS do
  local job, expected, seq = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local stored = tonumber(redis.call('HGET', KEYS[key], 'seq') or 0)
  if stored < seq then
    if stored ~= expected then return { 'gap', job, stored } end
    table.insert(writes, { KEYS[key], job, at })
  end
  at = at + 7 + 2 * tonumber(ARGV[at + 6])
end

for _, write in ipairs(writes) do
  local key, job, i = unpack(write)
  local ttl_ms, closed, time_ms, fields = ARGV[i + 3], ARGV[i + 4] == '1', tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
  redis.call('HSET', key, unpack(ARGV, i + 7, i + 6 + 2 * fields))
  if closed then redis.call('ZREMRANGEBYSCORE', ended, '-inf', time_ms - closed_ttl_ms) redis.call('ZREM', active, job) end
  if closed and closed_ttl_ms == 0 then redis.call('DEL', key)
  else redis.call('PEXPIRE', key, ttl_ms) redis.call('ZADD', closed and ended or active, time_ms, job) end
end
for i = 5 + n, first - 1, 2 do redis.call('HSET', parked, ARGV[i], ARGV[i + 1]) end
redis.call('XACK', log, 'projector', unpack(ARGV, 4, 3 + n))
redis.call('HSET', projector, 'checkpoint', ARGV[3 + n])
redis.call('HINCRBY', projector, 'folded', n)
return { 'committed' }
