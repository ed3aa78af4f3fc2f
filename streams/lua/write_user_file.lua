#!lua
--[[
  Write a small file of a user, whole.
  KEYS[1]  user_files       HASH
  KEYS[2]  user_file_times  HASH
  ARGV[1]  path             ARGV[2]  content
  ARGV[3]  1 where one that is there may be replaced
  ARGV[4]  most files       ARGV[5]  most bytes of all files

  Returns  {"written", bytes, created ms, modified ms}
           {"exists"}              one is there; nothing was written
           {"full", files, bytes}  so many there would be; nothing was written
]]
--- @include "now_ms"
local path, content, most_files, most_bytes = ARGV[1], ARGV[2], whole(ARGV[4]), whole(ARGV[5])
local why = check_key(KEYS[1], 'hash', 'HEXISTS HKEYS HSTRLEN HSET') or check_key(KEYS[2], 'hash', 'HGET HSET')
  or not (most_files and most_bytes) and 'ERR an argument is missing or no number'
if why then return redis.error_reply(why) end
local now, is_there = now_ms(), redis.call('HEXISTS', KEYS[1], path) == 1
if is_there and ARGV[3] ~= '1' then return { 'exists' } end
local files, bytes = 1, #content
for _, other in ipairs(redis.call('HKEYS', KEYS[1])) do
  if other ~= path then
    files, bytes = files + 1, bytes + redis.call('HSTRLEN', KEYS[1], other)
  end
end
if files > most_files or bytes > most_bytes then return { 'full', files, bytes } end
local times = is_there and redis.call('HGET', KEYS[2], path)
local created = whole(string.match(times or '', '^%d+ (%d+) %d+$')) or now
redis.call('HSET', KEYS[1], path, content)
redis.call('HSET', KEYS[2], path, string.format('%d %d %d', #content, created, now))
return { 'written', #content, created, now }
