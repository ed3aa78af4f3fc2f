#!lua
--[[
  Read a page of a consumer's own pending entries, in order; they stay pending.

  KEYS[1]  log  STREAM

  ARGV[1]  consumer group
  ARGV[2]  consumer
  ARGV[3]  entry id after which to begin
  ARGV[4]  most entries
  ARGV[5]  bytes after which a page ends

  Returns  {"page", entry...}   one that was trimmed has no fields
]]
--- @include "check_key"
local log, group, consumer, at, most, left = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local why = refused('XREADGROUP', log) or not (most and left) and 'ERR a limit is not a number'
if why then return redis.error_reply(why) end
local outcome = { 'page' }
while #outcome <= most and left > 0 do
  local reply = redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', log, at)
  if reply.err then return reply end
  local row = reply[1][2][1]
  if not row then break end
  for _, text in ipairs(row[2] or {}) do left = left - #text end
  table.insert(outcome, row)
  at = row[1]
end
return outcome
