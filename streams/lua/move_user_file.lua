#!lua
--[[
  Give a small file of a user another path.
  KEYS[1]  user_files       HASH
  KEYS[2]  user_file_times  HASH
  ARGV[1]  path             ARGV[2]  its new path
  ARGV[3]  1 where one that is at the new path may be replaced

  Returns  {"moved", bytes, created ms, modified ms}
           {"unknown"}  there is none at the path
           {"exists"}   one is at the new path; nothing was written
]]
--- @include "now_ms"
--- @include "stand_still"
local from, to = ARGV[1], ARGV[2]
local why = check_key(KEYS[1], 'hash', 'HEXISTS HGET HSET HDEL') or check_key(KEYS[2], 'hash', 'HGET HSET HDEL')
  or not (to and ARGV[3]) and 'ERR an argument is missing' or stand_still(tag_of(KEYS[1]))
if why then return redis.error_reply(why) end
local now, content = now_ms(), redis.call('HGET', KEYS[1], from)
if not content then return { 'unknown' } end
if redis.call('HEXISTS', KEYS[1], to) == 1 and ARGV[3] ~= '1' then return { 'exists' } end
local times = redis.call('HGET', KEYS[2], from) or ''
local created, modified = string.match(times, '^%d+ (%d+) (%d+)$')
created, modified = whole(created) or now, whole(modified) or now
redis.call('HDEL', KEYS[1], from)
redis.call('HDEL', KEYS[2], from)
redis.call('HSET', KEYS[1], to, content)
redis.call('HSET', KEYS[2], to, string.format('%d %d %d', #content, created, modified))
return { 'moved', #content, created, modified }
