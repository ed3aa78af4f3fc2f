--- @include "append_entry"
--- @include "check_key"
--- @include "event_ids"

-- Return the fields of an open job's head, with seq and epoch as numbers; or nil and the outcome for
-- an event of this id. `looked` is the seq up to which the caller knows that no event has the id.
-- A repeat writes what is there: a WAIT behind it then waits for what the first one wrote.
local function open_job(head, author, event_id, looked)
  local why = check_key(head, 'hash')
  if why then return nil, { 'broken', why } end
  local names, job = {}, {}
  for name in string.gmatch('seq epoch status phase owner last dispatch queue priority workflow line user kind '
    .. 'cancel recent authors forgotten ids:' .. author, '%S+') do table.insert(names, name) end
  for i, value in ipairs(redis.call('HMGET', head, unpack(names))) do job[names[i]] = value end
  job.kept = job[names[#names]]
  if not job.seq then return nil, { 'unknown' } end
  local seq, entry = find_id(job.kept, job.recent, job.forgotten, event_id)
  if entry then redis.call('HSET', head, 'seq', job.seq) return nil, { 'duplicate', whole(seq), entry } end
  job.seq, job.epoch = whole(job.seq), whole(job.epoch)
  for _, name in ipairs({ unpack(names, 1, 6) }) do
    if not job[name] then return nil, { 'broken', name .. ' is missing or is not a number' } end
  end
  for _, name in ipairs({ unpack(names, 7, 13) }) do job[name] = job[name] or '' end
  if seq == 'old' and looked ~= job.seq then return nil, { 'old', job.seq } end
  if job.status ~= 'open' then return nil, { 'closed', job.status } end
  return job
end

-- Append an event of an open job: the log's entry, and what the head holds after it.
local function append_to(log, head, name, job, author, event_id, payload)
  local seq = job.seq + 1
  local entry = append_entry(log, '*', name, seq, job.epoch, job.last, payload)
  redis.call('HSET', head, 'seq', seq, 'last', entry,
    'ids:' .. author, add_id(job.kept, job.forgotten, event_id, seq, entry))
  note_author(head, job.authors, job.forgotten, author)
  return seq, entry
end
