#!lua
--[[
  Make a namespace. Of two programs that do so at once, one decides: what is there stays.

  KEYS[1]  meta  HASH

  ARGV[1]  number of partitions
  ARGV[2]  schema version
  ARGV[3]  generation id
  ARGV[4]  run id of the server
  ARGV[5]  reader level that all programs have which use it from now on
  ARGV[6]  hash tag of each partition, without its braces, as a JSON list

  Returns  {"made"}
           {"found"}  it was there
]]
--- @include "check_key"
local why = check_key(KEYS[1], 'hash', 'HSETNX HSET') or not (whole(ARGV[5]) and ARGV[6]) and 'ERR the level is not a whole number, or an argument is missing'
if why then return redis.error_reply(why) end
local made = redis.call('HSETNX', KEYS[1], 'partitions', ARGV[1])
if made == 1 then redis.call('HSET', KEYS[1], 'tags', ARGV[6], 'writes', ARGV[5], 'min_reader', ARGV[5]) end
redis.call('HSETNX', KEYS[1], 'schema', ARGV[2])
redis.call('HSETNX', KEYS[1], 'generation', ARGV[3])
redis.call('HSETNX', KEYS[1], 'run_id', ARGV[4])
return { made == 1 and 'made' or 'found' }
