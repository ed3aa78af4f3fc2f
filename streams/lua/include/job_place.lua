--- @include "check_key"
--- @include "running"
--- @include "waiting"
-- Where an open job stands: it waits, or a runner holds it by its entry in dispatch.

-- Return where it waits or is held, and the sets of jobs that run; or nil, nil and why the job cannot be
-- taken from there.
local function job_place(tag, job)
  local at, damage = { dispatch = tag .. ':dispatch:' .. job.queue .. ':' .. job.priority }, nil
  if job.phase == 'waiting' then at, damage = waiting_place(tag, job, job.line ~= '' and job.line or nil)
  elseif job.dispatch ~= '' or job.phase == 'leased' then
    damage = check_key(at.dispatch, 'stream') or not is_entry_id(job.dispatch) and 'its place in dispatch is no entry id'
  end
  if damage then return nil, nil, damage end
  return at, running_sets(tag, job.queue, job.user, job.kind)
end

-- Take a job out of dispatch, and of the jobs that run.
local function leave_dispatch(at, sets, head, id)
  if id ~= '' and redis.call('XDEL', at.dispatch, id) then redis.pcall('XACK', at.dispatch, 'runners', id) end
  note_running('SREM', sets, head)
end

-- Take a job out of wherever it waits or is held.
local function leave_place(tag, at, sets, head, name, job)
  if job.phase == 'later' then redis.call('ZREM', tag .. ':later', name) redis.call('ZREM', tag .. ':blocked', name) end
  if job.phase == 'waiting' then leave_waiting(at, name) else leave_dispatch(at, sets, head, job.dispatch) end
end
