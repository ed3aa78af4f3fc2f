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
  ARGV[2]  checkpoint that the owner believes in
  ARGV[3]  new checkpoint
  ARGV[4]  ms that the state of an open job is kept after its last event
  ARGV[5]  the same for a closed job; 0 = not at all
  ARGV[6]  MessagePack: ids of the entries folded
  ARGV[7]  MessagePack, for each state: job id; seq it must be at, 0 = there must be none; new seq;
           closed; last event time, Unix ms; array of field names and values
  ARGV[8]  MessagePack: names and values of `parked`

  Returns  {"committed"}                     a state that was already further is left as it is
           {"not_owner", owner}              nothing was written
           {"moved", checkpoint}             somebody committed in between; nothing was written
           {"foreign", consumer}             another one holds entries; nothing was written
           {"gap", job id, stored seq, ...}  states are not where they must be; nothing was written
]]
local log, projector, active, ended, token, checkpoint = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[3]
local open_ms, closed_ms, entries = tonumber(ARGV[4]), tonumber(ARGV[5]), cmsgpack.unpack(ARGV[6])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, at = unpack(redis.call('HMGET', projector, 'owner', 'checkpoint'))
if owner ~= token then return { 'not_owner', owner or '' } end
if (at or '0-0') ~= ARGV[2] then return { 'moved', at or '0-0' } end
for _, holder in ipairs(redis.call('XPENDING', log, 'projector')[4] or {}) do
  if holder[1] ~= token then return { 'foreign', holder[1] } end
end
local gaps, writes = { 'gap' }, {}
for i, state in ipairs(cmsgpack.unpack(ARGV[7])) do
  local stored = tonumber(redis.call('HGET', KEYS[5 + i], 'seq') or 0) or 0
  if stored < state[3] and stored == state[2] then table.insert(writes, { KEYS[5 + i], unpack(state) })
  elseif stored < state[3] then table.insert(gaps, state[1]) table.insert(gaps, stored) end
end
if #gaps > 1 then return gaps end

for _, write in ipairs(writes) do
  local key, job, _, _, closed, time_ms, fields = unpack(write)
  local until_ms = time_ms + (closed and closed_ms or open_ms)
  local kept = until_ms > now_ms
  if kept then redis.call('HSET', key, unpack(fields)) redis.call('PEXPIREAT', key, until_ms) else redis.call('DEL', key) end
  if closed then redis.call('ZREMRANGEBYSCORE', ended, '-inf', now_ms - closed_ms) redis.call('ZREM', active, job) end
  if kept or not closed then redis.call('ZADD', closed and ended or active, time_ms, job) end
end
local parked = cmsgpack.unpack(ARGV[8])
if #parked > 0 then redis.call('HSET', KEYS[5], unpack(parked)) end
redis.call('XACK', log, 'projector', unpack(entries))
redis.call('HSET', projector, 'checkpoint', checkpoint)
redis.call('HINCRBY', projector, 'folded', #entries)
return { 'committed' }
