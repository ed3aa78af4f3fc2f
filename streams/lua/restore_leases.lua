#!lua
--[[
  Find jobs in dispatch that no lease speaks of, as after their group was lost, and release them: the
  next sweep takes them over. Walks one page of the stream.
  KEYS[1]  dispatch  STREAM of a queue and priority
  ARGV[1]  hash tag of the partition, from which heads are named
  ARGV[2]  entry id with which the page begins, '-' = the first
  ARGV[3]  most entries to look at

  Returns  {"restored", count, next}   next: the entry id of the next page, '' at the end
]]
--- @include "check_key"
--- @include "stand_still"
local dispatch, tag, from, most = KEYS[1], ARGV[1], ARGV[2], whole(ARGV[3])
local why = check_key(dispatch, 'stream', 'EXISTS XRANGE XPENDING XCLAIM XGROUP|CREATE') or refused('TYPE HMGET HSET', tag .. ':head:')
  or not (from == '-' or is_entry_id(from)) and 'ERR that is no entry id' or not (most and most >= 0) and 'ERR the limit is not a whole number' or stand_still(tag)
if why then return redis.error_reply(why) end
if redis.call('EXISTS', dispatch) == 0 then return { 'restored', 0, '' } end
redis.pcall('XGROUP', 'CREATE', dispatch, 'runners', '0')
local rows, count = redis.call('XRANGE', dispatch, from, '+', 'COUNT', most + 1), 0
for i = 1, math.min(#rows, most) do
  local id, job = rows[i][1], rows[i][2][2]
  if #redis.call('XPENDING', dispatch, 'runners', id, id, 1) == 0 then
    local head = tag .. ':head:' .. (job or '')
    local phase, own = unpack(check_key(head, 'hash') and {} or redis.call('HMGET', head, 'phase', 'dispatch'))
    redis.call('XCLAIM', dispatch, 'runners', 'released', 0, id, 'IDLE', 31536000000, 'FORCE', 'JUSTID')
    if phase == 'leased' and own == id then redis.call('HSET', head, 'phase', 'released', 'owner', '') end
    count = count + 1
  end
end
return { 'restored', count, rows[most + 1] and rows[most + 1][1] or '' }
