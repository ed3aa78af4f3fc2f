--- @include "moving_states"

-- The index of a partition is a ZSET of equal scores, so its members are in the order of their bytes.
-- An open job has a member `name\no\njob` for each of its names, one that has ended
-- `name\ne<ms of its last event>\njob`. Each job has `#job` and `$boj`, the id backwards, too.
-- `indexed` has for each job what its members are made of: `o` or `e<ms>`, then its names, in lines.

local function index_members(job, entry)
  local at, names = string.match(entry, '^([^\n]*)\n?(.*)$')
  local members = { '#' .. job, '$' .. string.reverse(job) }
  local suffix = '\n' .. at .. '\n' .. job
  for name in string.gmatch(names, '[^\n]+') do members[#members + 1] = name .. suffix end
  return members
end

-- Take a job out of the index.
local function unindex_job(index, indexed, job)
  local entry = redis.call('HGET', indexed, job)
  if not entry then return end
  redis.call('ZREM', index, unpack(index_members(job, entry)))
  redis.call('HDEL', indexed, job)
end

-- Put a job into the index, in the place of what it had there before; only what differs is written.
local function index_job(index, indexed, job, entry)
  local before, had, gone, scored = redis.call('HGET', indexed, job), {}, {}, {}
  if before == entry then return end
  local members = index_members(job, entry)
  for _, member in ipairs(before and index_members(job, before) or {}) do had[member] = true end
  for _, member in ipairs(members) do
    if not had[member] then scored[#scored + 1], scored[#scored + 2] = 0, member end
    had[member] = nil
  end
  for member in pairs(had) do gone[#gone + 1] = member end
  if #gone > 0 then redis.call('ZREM', index, unpack(gone)) end
  if #scored > 0 then redis.call('ZADD', index, unpack(scored)) end
  redis.call('HSET', indexed, job, entry)
end

-- Take jobs out of `ended` and the index whose states have expired: a thousand of them at most.
local function drop_expired(ended, index, indexed, before_ms)
  local jobs = redis.call('ZRANGEBYSCORE', ended, '-inf', before_ms, 'LIMIT', 0, 1000)
  for _, job in ipairs(jobs) do unindex_job(index, indexed, job) end
  if #jobs > 0 then redis.call('ZREM', ended, unpack(jobs)) end
end

-- Write a job's state and its place in the indexes. One that has ended and is not kept is deleted.
-- `to` has the keys: state, moving (both without the job id), active, ended, index, indexed; `before` is as in commit_jobs.lua.
local function write_state(to, time_ms, job, before, _, closed, event_ms, until_ms, fields, entry)
  local key, kept = to.state .. job, until_ms == 0 or until_ms > time_ms
  move_state(to.moving, to.state, job)
  if before < 0 then redis.call('DEL', key) end
  if kept then redis.call('HSET', key, unpack(fields)) else redis.call('DEL', key) end
  if kept and until_ms > 0 then redis.call('PEXPIREAT', key, until_ms) end
  if closed then redis.call('ZREM', to.active, job) elseif before < 1 then redis.call('ZREM', to.ended, job) end
  if closed and not kept then return unindex_job(to.index, to.indexed, job) end
  redis.call('ZADD', closed and to.ended or to.active, event_ms, job)
  if entry ~= '' then index_job(to.index, to.indexed, job, entry) end
end
