--- @include "check_key"
--- @include "limits"
-- The heads of jobs that runners hold, in a set for each queue, user and kind: what limits are compared
-- with. In the spread layout a set holds those of one partition.

-- Return the sets that a job is in while a runner holds it, by what is counted.
local function running_sets(tag, queue, user, kind)
  local root, sets = root_of(tag) .. ':running:', {}
  for scope, name in pairs({ queue = queue or '', user = user or '', kind = kind or '' }) do
    if name ~= '' then sets[scope .. ' ' .. name] = root .. scope .. ':' .. name end
  end
  return sets
end

-- Put a job into these sets, or take it out of them, by `how`. One of another type counts nothing: doctor
-- names it, and jobs go on. Rights are checked before.
local function note_running(how, sets, head)
  for _, key in pairs(sets) do redis.pcall(how, key, head) end
end

local function count_running(key) local count = redis.pcall('SCARD', key)
  return type(count) == 'number' and count or 0
end

-- Take a job out of a set that ended without leaving it, as where its head was deleted: one that is
-- found by chance, one in each look.
local function forget_gone(key)
  local head = redis.call('SRANDMEMBER', key)
  local phase = head and not check_key(head, 'hash') and redis.call('HGET', head, 'phase')
  if head and phase ~= 'leased' and phase ~= 'released' then redis.call('SREM', key, head) end
end

-- Return what a caller has reserved: limit -> how many more jobs may run; nil for what is no list.
local function read_grants(text, time_ms)
  local is_json, given = pcall(cjson.decode, text or '[0]')
  if not is_json or type(given) ~= 'table' or type(given[1]) ~= 'number' then return nil end
  local granted = {}
  for i = 2, given[1] >= time_ms and #given or 0, 2 do granted[given[i]] = tonumber(given[i + 1]) end
  return granted
end

-- Return 'full' where one of these sets holds as many jobs as it may, or nil. In the spread layout
-- `granted` says of how many more jobs the caller knows that they may run; where it says nothing of
-- a limit, return the names of those that have one, each with it.
local function no_room(tag, sets, granted)
  local unknown, is_spread = {}, not namespace_of(tag)
  for name, key in pairs(sets) do
    local own, any = read_limits(tag, 'running ' .. name, 'running ' .. string.match(name, '^%a+') .. ' *')
    local limit = whole(own) or whole(any)
    if limit and is_spread and not granted[name] then
      table.insert(unknown, name) table.insert(unknown, limit)
    elseif limit and is_spread and granted[name] < 1 then return 'full'
    elseif limit and not is_spread and count_running(key) >= limit then
      forget_gone(key)
      return 'full'
    end
  end
  return unknown[1] and unknown
end
