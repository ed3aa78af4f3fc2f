--- @include "check_key"
--- @include "limits"
-- The heads of jobs that runners hold, in a set for each queue, user and kind: what limits are compared
-- with.

-- Return the sets that a job is in while a runner holds it, by what is counted. One of another type
-- counts nothing: doctor names it, and jobs go on. Rights are checked before.
local function running_sets(tag, queue, user, kind)
  local root, sets = string.match(tag, '^{(.*):%d+}$') .. ':running:', {}
  for scope, name in pairs({ queue = queue or '', user = user or '', kind = kind or '' }) do
    if name ~= '' then
      local key = root .. scope .. ':' .. name
      if not check_key(key, 'set') then sets[scope .. ' ' .. name] = key end
    end
  end
  return sets
end

local function note_running(sets, head)
  for _, key in pairs(sets) do redis.call('SADD', key, head) end
end

-- Return whether one of these sets holds as many jobs as it may. A job that ended without leaving its
-- set, as where its head was deleted, is found by chance, one in each look.
local function is_full(tag, sets)
  for name, key in pairs(sets) do
    local own, any = read_limits(tag, 'running ' .. name, 'running ' .. string.match(name, '^%a+') .. ' *')
    local limit = whole(own or any)
    if limit and redis.call('SCARD', key) >= limit then
      local head = redis.call('SRANDMEMBER', key)
      local phase = head and not check_key(head, 'hash') and redis.call('HGET', head, 'phase')
      if head and phase ~= 'leased' and phase ~= 'released' then redis.call('SREM', key, head) end
      return true
    end
  end
  return false
end
