#!lua flags=allow-oom
--[[
  Acquire the leases of partitions of one server, or renew them, in their order until there are
  enough: what acquire_partition.lua does for one.

  KEYS[1..]  projector  HASH of each partition: owner, until_ms (end of the lease, Unix ms)

  ARGV[1]  token of the process
  ARGV[2]  ms of the leases, above 0
  ARGV[3]  how many are enough

  Returns  {"acquired", one for each}   "renewed" or "new", for the ms from now on; "" where another
           process has it, or there were enough
]]
--- @include "check_key"
--- @include "now_ms"
--- @include "other_owner"
local token, lease_ms, most = ARGV[1], whole(ARGV[2]), whole(ARGV[3])
local why = not (lease_ms and most) and 'ERR a number is not a whole one'
for i = 1, #KEYS do why = why or check_key(KEYS[i], 'hash', 'HMGET HSET') end
if why then return redis.error_reply(why) end
local time_ms, found, acquired = now_ms(), { 'acquired' }, 0

for i = 1, #KEYS do
  local owner, until_ms = unpack(redis.call('HMGET', KEYS[i], 'owner', 'until_ms'))
  found[1 + i] = ''
  if acquired < most and not other_owner(owner, until_ms, token, lease_ms, time_ms) then
    redis.call('HSET', KEYS[i], 'owner', token, 'until_ms', string.format('%d', time_ms + lease_ms))
    found[1 + i], acquired = owner == token and 'renewed' or 'new', acquired + 1
  end
end
return found
