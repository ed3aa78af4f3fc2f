--- @include "append_entry"

-- Lease a job to a runner: a new epoch, and the event that says so.
-- Return epoch, seq and entry id of that event, and the entry id of the one before.
local function begin_lease(log, head, job, runner, dispatch_id, payload)
  local seq, epoch, last = unpack(redis.call('HMGET', head, 'seq', 'epoch', 'last'))
  seq, epoch = tonumber(seq) + 1, tonumber(epoch) + 1
  local entry = append_entry(log, '*', job, seq, epoch, last, payload)
  redis.call('HSET', head, 'seq', seq, 'epoch', epoch, 'last', entry,
    'owner', runner, 'phase', 'leased', 'dispatch', dispatch_id)
  return epoch, seq, entry, last
end
