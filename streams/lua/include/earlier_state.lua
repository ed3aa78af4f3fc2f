--- @include "check_key"
-- A job id may be used again once its job was trimmed. The projected state of that job may still be there, and a
-- rebuilt one: each goes before the new job is made, or it would be read as the new job's.

-- Return the keys of both states of a job.
local function states_of(tag, job)
  return tag .. ':job:' .. job, tag .. ':rebuilt:job:' .. job
end

-- Return why this user may not send commands to the states of jobs, or nil.
local function refused_states(names, tag)
  local state, rebuilt = states_of(tag, '')
  return refused(names, state) or refused(names, rebuilt)
end

-- Say whether a state is there under the id of a job that is not known.
local function has_earlier_state(tag, job)
  return redis.call('EXISTS', states_of(tag, job)) > 0
end
