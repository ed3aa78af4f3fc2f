#!lua
--[[
  Give a job another priority. One that waits goes behind its user's jobs of that priority; one that a
  runner holds keeps its own until it waits again.
  KEYS[1]  head  HASH of the job
  ARGV[1]  hash tag of the partition, from which other keys are named
  ARGV[2]  job id
  ARGV[3]  priority

  Returns  {"changed", the one before}    {"same"}
           {"leased", runner}             {"closed", status}
           {"unknown"}                    no such job
           {"broken", why}                a key of the job cannot be used; nothing was written
]]
--- @include "waiting"
local head, tag, name, priority = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local why = check_key(head, 'hash', 'HMGET HSET') or check_rights(tag, 'ZADD ZREM ZRANGE', 'ZSCORE ZADD', '') or not priority and 'ERR an argument is missing'
if why then return redis.error_reply(why) end
local status, phase, owner, before, line, queue, needs, user, kind = unpack(redis.call('HMGET', head,
  'status', 'phase', 'owner', 'priority', 'line', 'queue', 'needs', 'user', 'kind'))
if not status then return { 'unknown' } end
if status ~= 'open' then return { 'closed', status } end
if before == priority then return { 'same' } end
if phase == 'leased' or phase == 'released' then return { 'leased', owner or '' } end
local old, damage = waiting_at(tag, head, line)
if not old then return { 'broken', damage } end
local new, trouble = waiting_place(tag, { queue = queue, priority = priority, needs = needs, user = user, kind = kind })
if not new then return { 'broken', trouble } end
redis.call('HSET', head, 'priority', priority, 'place', '')
if phase == 'waiting' then leave_waiting(old, name) enter_waiting(new, head, name) end
return { 'changed', before }
