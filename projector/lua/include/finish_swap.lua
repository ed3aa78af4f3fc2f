--- @include "check_key"

-- Return why one key cannot be put in the place of another one, or nil.
local function check_move(from, to, kind)
  local is_denied = redis.acl_check_cmd and not redis.acl_check_cmd('RENAME', from, to)
  return check_key(from, kind, 'EXISTS') or check_key(to, kind, 'UNLINK')
    or is_denied and 'NOPERM this user may not send RENAME for ' .. from
end

-- Put one rebuilt key in the place of a live one, which is gone when there is no rebuilt one.
local function move(from, to)
  redis.call('UNLINK', to)
  if redis.call('EXISTS', from) == 1 then redis.call('RENAME', from, to) end
end

-- Return why two keys cannot change places, or nil.
local function check_exchange(one, other, kind)
  return check_move(one, other, kind) or check_move(other, one, kind)
end

-- Let two keys change places, by a name that is free.
local function exchange(one, other, free)
  move(other, free) move(one, other) move(free, one)
end

-- Let the live projection go on from where the rebuilt one is, without an owner.
local function finish_swap(live, rebuilt, checkpoint, folded)
  redis.call('HSET', live, 'checkpoint', checkpoint, 'folded', folded, 'owner', '', 'until_ms', 0)
  redis.call('DEL', rebuilt)
end
