#!lua
--[[
  Lease waiting jobs of one partition to a runner, in order of preference; each gets a new epoch
  and a `claimed` event.

  KEYS[1]  log        STREAM
  KEYS[2..] dispatch  STREAMs of queue and priority, the preferred one first

  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  runner
  ARGV[3..] encoded `claimed` events; as many jobs are leased at most

  Returns  {"claimed", job...} where a job is
           {job id, epoch, seq, entry id, index of its dispatch key from 1, dispatch entry id,
            the job's first entry, if that is the one before}
]]
--- @include "begin_lease"
local log, tag, runner = KEYS[1], ARGV[1], ARGV[2]

local function read(dispatch, count)
  local command = { 'XREADGROUP', 'GROUP', 'runners', runner, 'COUNT', count, 'STREAMS', dispatch, '>' }
  local reply = redis.pcall(unpack(command))
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP') then return error(reply.err) end
    redis.call('XGROUP', 'CREATE', dispatch, 'runners', '0', 'MKSTREAM')
    reply = redis.call(unpack(command))
  end
  return reply and reply[1][2] or {}
end

local outcome, used = { 'claimed' }, 2
for key = 2, #KEYS do
  if used == #ARGV then break end
  for _, item in ipairs(read(KEYS[key], #ARGV - used)) do
    local dispatch_id, job = item[1], item[2] and item[2][2]
    local head = tag .. ':head:' .. (job or '')
    if job and redis.call('HGET', head, 'status') == 'open' then
      used = used + 1
      local epoch, seq, entry, last = begin_lease(log, head, job, runner, dispatch_id, ARGV[used])
      local first = seq == 2 and redis.call('XRANGE', log, last, last)[1] or nil
      table.insert(outcome, { job, epoch, seq, entry, key - 1, dispatch_id, first })
    else
      redis.call('XACK', KEYS[key], 'runners', dispatch_id)
      redis.call('XDEL', KEYS[key], dispatch_id)
    end
  end
end
return outcome
