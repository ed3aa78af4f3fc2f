#!lua flags=no-writes
--[[
  Read a page of one job's events, the newest first, along the chain of their entries: the cost is
  the job's own events, not the partition's.

  KEYS[1]  log   STREAM
  KEYS[2]  head  HASH of the job

  ARGV[1]  job id
  ARGV[2]  entry id at which the page begins; '' = the job's last event
  ARGV[3]  seq at which to stop, not included; 0 = the job's beginning
  ARGV[4]  most events to return
  ARGV[5]  most bytes of them; the first one is returned whatever its size

  Returns  {"page", next entry id or '', entry...}      '' when the walk is through
           {"trimmed", entry id, entry...}              the log no longer holds this entry
           {"strange", what the chain has, entry...}    that is no earlier event of the job
           {"unknown"}                                  no such job
]]
--- @include "check_key"
--- @include "precedes"
local log, name, at, after, most, left = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local why = refused('XRANGE', log) or refused('HGET', KEYS[2])
if why then return redis.error_reply(why) end
if at == '' then
  at = redis.call('HGET', KEYS[2], 'last')
  if not at then return { 'unknown' } end
end
local outcome, is_strange = { 'page', at }, not string.match(at, '^%d+%-%d+$')
while not is_strange and #outcome - 2 < most do
  local entry = redis.call('XRANGE', log, at, at)[1]
  if not entry then
    outcome[1] = 'trimmed'
    return outcome
  end
  local fields, size = {}, 0
  for i = 1, #entry[2], 2 do fields[entry[2][i]], size = entry[2][i + 1], size + #entry[2][i + 1] end
  local seq, previous = fields.j == name and whole(fields.s), fields.p or ''
  if not seq then is_strange = true break end
  if seq <= after then outcome[2] = '' return outcome end
  left = left - size
  if #outcome > 2 and left < 0 then return outcome end
  table.insert(outcome, entry)
  outcome[2] = previous == '0-0' and '' or previous
  if previous == '0-0' then return outcome end
  is_strange = not string.match(previous, '^%d+%-%d+$') or not precedes(previous, at)
  at = previous
end
if is_strange then outcome[1] = 'strange' end
return outcome
