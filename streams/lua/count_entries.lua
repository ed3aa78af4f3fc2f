#!lua flags=no-writes
--[[
  Count the entries of a stream that a page may have: what is read up to the last of them is
  bounded in bytes, where large entries follow small ones, too.

  KEYS[1]  log  STREAM, or another one

  ARGV[1]  where to begin, as XRANGE takes it: `-`, an entry id, or `(` and the one before
  ARGV[2]  where to end, as XRANGE takes it
  ARGV[3]  most entries
  ARGV[4]  most bytes of them; the first one counts whatever its size

  Returns  {"counted", count, bytes, first entry id, last entry id}   '' and '' when there is none
]]
--- @include "check_key"
local log, at, last, most, limit = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local why = refused('XRANGE', log)
if why then return redis.error_reply(why) end
local outcome = { 'counted', 0, 0, '', '' }
-- Few at a time: no more of them than these are in the server's memory.
local few = 16
while outcome[2] < most do
  local rows = redis.call('XRANGE', log, at, last, 'COUNT', math.min(few, most - outcome[2]))
  for _, row in ipairs(rows) do
    local size = #row[1]
    for _, text in ipairs(row[2]) do size = size + #text end
    if outcome[2] == 0 then
      outcome[4] = row[1]
    elseif outcome[3] + size > limit then
      return outcome
    end
    outcome[2], outcome[3], outcome[5] = outcome[2] + 1, outcome[3] + size, row[1]
  end
  if #rows < few then return outcome end
  at = '(' .. outcome[5]
end
return outcome
