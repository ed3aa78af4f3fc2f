#!lua
--[[
  Append recorded events to another log once more, with the heads that reading needs: for trying a
  consumer or a projection on real history. No lease, no dispatch: nobody will run these jobs.

  KEYS[1]  log  STREAM of a partition

  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2..] five per event: job id; seq; epoch; status, 'open' or what the event closes the job with;
           payload

  Returns  {"republished", count}
           {"conflict", job id, seq}   the head is not at the event before; nothing was written
]]
--- @include "append_entry"
--- @include "check_key"
--- @include "stand_still"
local log, tag = KEYS[1], ARGV[1]
local why, at = check_key(log, 'stream', 'XADD') or #ARGV % 5 ~= 1 and 'ERR an argument is missing' or stand_still(tag), {}
for i = 2, #ARGV, 5 do
  local job, seq = ARGV[i], whole(ARGV[i + 1])
  local head = tag .. ':head:' .. job
  why = why or not (seq and whole(ARGV[i + 2])) and 'ERR a number is not a whole one' or not at[job] and check_key(head, 'hash', 'HGET HMGET HSET')
  if why then return redis.error_reply(why) end
  at[job] = at[job] or whole(redis.call('HGET', head, 'seq') or '0') or 0
  if at[job] ~= seq - 1 then return { 'conflict', job, at[job] } end
  at[job] = seq
end
for i = 2, #ARGV, 5 do
  local job, seq, epoch, status, payload = unpack(ARGV, i, i + 4)
  local head = tag .. ':head:' .. job
  local last, first = unpack(redis.call('HMGET', head, 'last', 'first'))
  local entry = append_entry(log, '*', job, seq, epoch, last or '0-0', payload)
  redis.call('HSET', head, 'seq', seq, 'epoch', epoch, 'last', entry, 'first', first or entry,
    'status', status, 'phase', 'replayed', 'recent', '', 'owner', '')
end
return { 'republished', (#ARGV - 1) / 5 }
