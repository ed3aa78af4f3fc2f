#!lua flags=no-writes
--[[
  Read a page of one job's events, the newest first, along the chain of their entries: the cost is
  the job's own events, not the partition's.

  KEYS[1]  log   STREAM
  KEYS[2]  head  HASH of the job

  ARGV[1]  entry id at which the page begins; '' = the job's last event
  ARGV[2]  seq at which to stop, not included; 0 = the job's beginning
  ARGV[3]  most events to return

  Returns  {"page", next entry id or '', entry...}      '' when the walk is through
           {"trimmed", entry id, entry...}              the log no longer holds this entry
           {"unknown"}                                  no such job
]]
local log, at, after, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if at == '' then
  at = redis.call('HGET', KEYS[2], 'last')
  if not at then return { 'unknown' } end
end
local outcome = { 'page', '' }
while #outcome - 2 < most do
  local entry = redis.call('XRANGE', log, at, at)[1]
  if not entry then
    outcome[1], outcome[2] = 'trimmed', at
    return outcome
  end
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if tonumber(fields.s) <= after then return outcome end
  table.insert(outcome, entry)
  if fields.p == '0-0' then return outcome end
  at = fields.p
end
outcome[2] = at
return outcome
