#!lua
--[[
  Lease waiting jobs of one partition to a runner, in order of preference; each gets a new epoch
  and a `claimed` event. An entry whose head is broken is passed over, and stays pending; a job that
  such a runner could not read waits for another one.
  KEYS[1]  log        STREAM
  KEYS[2..] dispatch  STREAMs of queue and priority, the preferred one first
  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  runner; after a space, a fingerprint of what it can read
  ARGV[3..] encoded `claimed` events; as many jobs are leased at most

  Returns  {"claimed", job...} where a job is
           {job id, epoch, seq, entry id, index of its dispatch key from 1, dispatch entry id,
            the job's first entry, if that is the one before}
]]
--- @include "begin_lease"
--- @include "now_ms"
--- @include "wait_for_reader"
local log, tag, time_ms = KEYS[1], ARGV[1], now_ms()
local runner, reads = string.match(ARGV[2], '^([^ ]*) ?(.*)$')
local why = check_key(log, 'stream', 'XADD XRANGE') or check_key(tag .. ':head:', 'hash', 'HMGET HSET EXISTS')
  or check_key(tag .. ':later', 'zset', 'ZADD') or check_key(tag .. ':blocked', 'zset', 'ZADD')
for key = 2, #KEYS do why = why or check_key(KEYS[key], 'stream', 'XREADGROUP XGROUP|CREATE XACK XDEL') end
if why then return redis.error_reply(why) end
-- Return new entries of a dispatch stream, and an error that stands in the way of more.
local function read(dispatch, count)
  local command = { 'XREADGROUP', 'GROUP', 'runners', runner, 'COUNT', count, 'STREAMS', dispatch, '>' }
  local reply = redis.pcall(unpack(command))
  if reply and reply.err and string.find(reply.err, 'NOGROUP') then
    local made = redis.pcall('XGROUP', 'CREATE', dispatch, 'runners', '0', 'MKSTREAM')
    reply = made.err and made or redis.pcall(unpack(command))
  end
  if reply and reply.err then return {}, reply end
  return reply and reply[1][2] or {}
end
local outcome, used = { 'claimed' }, 2
for key = 2, #KEYS do
  if used == #ARGV then break end
  local items, trouble = read(KEYS[key], #ARGV - used)
  if trouble and #outcome == 1 then return trouble end
  for _, item in ipairs(items) do
    local dispatch_id, job = item[1], item[2] and item[2][2]
    local head = tag .. ':head:' .. (job or '')
    local status, _, blocked = leasable(head)
    if status == 'open' and is_blocked(blocked, reads) then
      wait_for_reader(tag, head, job, reads, time_ms)
      status = 'blocked'
    end
    if status == 'open' then
      used = used + 1
      local epoch, seq, entry, last = begin_lease(log, head, job, runner, dispatch_id, ARGV[used])
      local first = seq == 2 and redis.call('XRANGE', log, last, last)[1] or nil
      table.insert(outcome, { job, epoch, seq, entry, key - 1, dispatch_id, first })
    elseif status or redis.pcall('EXISTS', head) == 0 then
      redis.call('XACK', KEYS[key], 'runners', dispatch_id) redis.call('XDEL', KEYS[key], dispatch_id)
    end
  end
end
return outcome
