--- @include "check_key"

-- Say whether a runner that reads only `reads` could not read a job; `blocked` is its head's field.
local function is_blocked(blocked, reads)
  return reads ~= '' and string.find((blocked or '') .. ' ', ' ' .. reads .. ' ', 1, true) ~= nil
end

-- Let an open job wait in later for a runner that reads more. Its head's field `blocked` has: until
-- when, Unix ms; the job's seq then; for how many ms; what the last eight kinds of runners that could
-- not read it do read. Who only claims and releases the job does not prolong the wait.
local function wait_for_reader(tag, head, job, reads, time_ms, wait_ms)
  local field, seq, cancel = unpack(redis.call('HMGET', head, 'blocked', 'seq', 'cancel'))
  local until_ms, since, for_ms, kinds = string.match(field or '', '^(%d+) (%d+) (%d+)(.*)$')
  wait_ms = wait_ms or whole(for_ms)
  if cancel then until_ms = time_ms elseif not since or seq - since > 2 then until_ms = time_ms + wait_ms end
  if not is_blocked(kinds, reads) then kinds = (kinds or '') .. ' ' .. reads end
  if select(2, string.gsub(kinds, ' ', '')) > 8 then kinds = string.gsub(kinds, '^ [^ ]+', '') end
  until_ms, wait_ms = string.format('%d', tonumber(until_ms)), string.format('%d', wait_ms)
  redis.call('HSET', head, 'blocked', until_ms .. ' ' .. seq .. ' ' .. wait_ms .. kinds,
    'phase', 'later', 'dispatch', '', 'owner', '')
  -- A runner that knows nothing of this looks a minute after the others have ended the job.
  redis.call('ZADD', tag .. ':later', until_ms + 60000, job)
  redis.call('ZADD', tag .. ':blocked', until_ms, job)
end
