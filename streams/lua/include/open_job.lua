--- @include "append_entry"
--- @include "check_key"
--- @include "event_ids"

-- Return the fields of a job's head that an append needs, with seq and epoch as numbers; or nil and the
-- outcome where it has none. `author` is whose ids are read.
local function open_head(head, author)
  local values = redis.pcall('HMGET', head, 'seq', 'epoch', 'status', 'phase', 'owner', 'last', 'cancel', 'recent',
    'authors', 'forgotten', 'ids:' .. author)
  if values.err then return nil, { 'broken', check_key(head, 'hash', 'HMGET') or values.err } end
  local written, epoch, status, phase, owner, last, cancel, recent, authors, forgotten, kept = unpack(values)
  if not written then return nil, { 'unknown' } end
  local seq, damage = whole(written), nil
  epoch = whole(epoch)
  local missing = not seq and 'seq' or not epoch and 'epoch' or not status and 'status' or not phase and 'phase'
    or not owner and 'owner' or not last and 'last'
  if missing then damage = missing .. ' is missing or is not a number' end
  return { seq = seq, epoch = epoch, status = status, phase = phase, owner = owner, last = last, cancel = cancel, recent = recent,
    authors = authors, forgotten = forgotten, kept = kept, author = author, written = written, damage = damage, new = {}, seen = {} }
end

-- Add the fields that say where the job waits or is held, and what it has elsewhere.
local function read_job_place(head, job)
  local values = redis.call('HMGET', head, 'dispatch', 'queue', 'priority', 'workflow', 'line', 'user', 'kind', 'made_by')
  job.dispatch, job.queue, job.priority, job.workflow = values[1] or '', values[2] or '', values[3] or '', values[4] or ''
  job.line, job.user, job.kind, job.made_by = values[5] or '', values[6] or '', values[7] or '', values[8] or ''
end

-- Return the outcome for an event of this id where it may not enter the job, else nil. `looked` is the
-- seq up to which the caller knows that no event has the id. A repeat writes what is there: a WAIT
-- behind it then waits for what the first one wrote.
local function refuse_event(head, job, event_id, looked)
  local earlier = job.seen[event_id]
  if earlier then return { 'duplicate', earlier[2], earlier[3] } end
  local seq, entry = find_id(job.kept, job.recent, job.forgotten, event_id)
  if entry and not job.new[1] then redis.call('HSET', head, 'seq', job.written) end
  if entry then return { 'duplicate', whole(seq), entry } end
  if job.damage then return { 'broken', job.damage } end
  if seq == 'old' and looked ~= job.seq then return { 'old', job.seq } end
  if job.status ~= 'open' then return { 'closed', job.status } end
end

-- Append an event of an open job to the log; `write_head` is to follow, once for all that were appended.
local function append_to(log, name, job, event_id, payload)
  job.seq, job.last = job.seq + 1, append_entry(log, '*', name, job.seq + 1, job.epoch, job.last, payload)
  local made = { event_id, job.seq, job.last }
  job.seen[event_id] = made
  table.insert(job.new, made)
  return job.seq, job.last
end

-- Write what the events that were appended have changed in the head, and further fields. The last use of `job`.
local function write_head(head, job, ...)
  if not job.new[1] then return end
  redis.call('HSET', head, 'seq', job.seq, 'last', job.last, 'ids:' .. job.author, add_ids(job.kept, job.forgotten, job.new), ...)
  note_author(head, job.authors, job.forgotten, job.author)
end
