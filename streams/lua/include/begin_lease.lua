--- @include "append_entry"
--- @include "check_key"
--- @include "running"

-- Return status and phase of a job that can be leased, what is kept of runners that could not read
-- it, the sets that it is in while it runs, and what else its head says; nil for one with a key that is
-- missing or broken. Rights are checked before.
local function leasable(tag, head)
  local values = redis.pcall('HMGET', head, 'status', 'phase', 'seq', 'epoch', 'last', 'crashes', 'blocked', 'queue', 'user',
    'kind', 'priority', 'needs', 'workflow')
  if values.err then return nil end
  local status, phase, seq, epoch, last, crashes, blocked, queue, user, kind, priority, needs, workflow = unpack(values)
  local known = { seq = whole(seq), epoch = whole(epoch), last = last, queue = queue, user = user, kind = kind, priority = priority, needs = needs, workflow = workflow }
  if (known.seq or -1) >= 0 and (known.epoch or -1) >= 0 and is_entry_id(last) and whole(crashes or '0') then
    return status, phase, blocked, running_sets(tag, queue, user, kind), known
  end
end

-- Lease a job to a runner: a new epoch, and the event that says so. `known` is what its head says.
-- Return epoch, seq and entry id of that event.
local function begin_lease(log, head, job, known, runner, dispatch_id, payload, sets)
  local seq, epoch = known.seq + 1, known.epoch + 1
  local entry = append_entry(log, '*', job, seq, epoch, known.last, payload)
  redis.call('HSET', head, 'seq', seq, 'epoch', epoch, 'last', entry,
    'owner', runner, 'phase', 'leased', 'dispatch', dispatch_id)
  note_running('SADD', sets, head)
  return epoch, seq, entry
end

-- Return the `recovered` event of an orphaned job with what only the server knows; counts a crash.
-- Return nil for one that is no JSON object.
local function recovery(head, owner, idle_ms, recovered)
  local is_json, event = pcall(cjson.decode, recovered)
  if not is_json or type(event) ~= 'table' then return nil end
  event.previous_owner, event.idle_ms, event.crashes = owner, idle_ms, redis.call('HINCRBY', head, 'crashes', 1)
  return cjson.encode(event)
end
