--- @include "check_key"
-- The heads of jobs that runners hold, in a set for each queue, user and kind: what limits are compared
-- with.

-- Return the sets that a job is in while a runner holds it, by what is counted; or nil and why one of
-- them cannot be used. Rights are checked before.
local function running_sets(tag, queue, user, kind)
  local root, sets = string.match(tag, '^{(.*):%d+}$') .. ':running:', {}
  for scope, name in pairs({ queue = queue or '', user = user or '', kind = kind or '' }) do
    if name ~= '' then
      local key = root .. scope .. ':' .. name
      local why = check_key(key, 'set')
      if why then return nil, why end
      sets[scope .. ' ' .. name] = key
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
  local limits = string.match(tag, '^{(.*):%d+}$') .. ':limits'
  for name, key in pairs(sets) do
    local own, any = unpack(redis.call('HMGET', limits, 'running ' .. name, 'running ' .. string.match(name, '^%a+') .. ' *'))
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
