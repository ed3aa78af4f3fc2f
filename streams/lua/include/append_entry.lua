-- Append one event of a job to the log and return its entry id. `id` is '*' for a new one;
-- `previous` is the entry id of the job's event before, '0-0' for none.
local function append_entry(log, id, job, seq, epoch, previous, payload)
  return redis.call('XADD', log, id, 'j', job, 's', seq, 'e', epoch, 'p', previous, 'd', payload)
end
